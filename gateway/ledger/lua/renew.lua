-- Put off the end of leases, and write the checkpoints of those that have one. After sums.lua.
--
-- ARGV  1 lease in s  2 number of signs of life  then their request ids  then for each checkpoint: request id, cost, line
-- Answers the request ids that hold nothing.

local MOST = 1000 -- what unpack can take, by far
local leases, deadline = root .. 'leases', format('%.6f', now + tonumber(ARGV[1]))
local plain = tonumber(ARGV[2])
local ids, gone = {}, {}
for i = 3, 2 + plain do ids[#ids + 1] = ARGV[i] end
for at = 3 + plain, #ARGV, 3 do ids[#ids + 1] = ARGV[at] end

for first = 1, #ids, MOST do
  local last = math.min(first + MOST - 1, #ids)
  local scores = call('ZMSCORE', leases, unpack(ids, first, last))
  local put_off = {}
  for i, score in ipairs(scores) do
    local id = ids[first + i - 1]
    if score then
      put_off[#put_off + 1] = deadline
      put_off[#put_off + 1] = id
      local at = 3 + plain + 3 * (first + i - 2 - plain)
      if at >= 3 + plain then call('HSET', root .. 'hold:' .. id, 'cost', ARGV[at + 1], 'line', ARGV[at + 2]) end
    else
      gone[#gone + 1] = id
    end
  end
  if #put_off > 0 then call('ZADD', leases, 'XX', unpack(put_off)) end
end
return gone
