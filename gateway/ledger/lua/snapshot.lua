-- The whole store at one instant. After sums.lua.
--
-- ARGV  1 'all', or 'holds' for these alone
-- Answers {s, us, [name, spent, held, folded …], [id, deadline, nanousd, cost, counters, meters, line …],
-- [scope, running …], the first entry's id, the last one's}, each list flat.

local sums, holds, slots, first, last = {}, {}, {}, '', ''
local leases = redis.call('ZRANGE', root .. 'leases', 0, -1, 'WITHSCORES')
for i = 1, #leases, 2 do
  local hold = redis.call('HMGET', root .. 'hold:' .. leases[i], 'nanousd', 'cost', 'counters', 'meters', 'line')
  for _, part in ipairs({leases[i], leases[i + 1], hold[1], hold[2] or '0', hold[3], hold[4], hold[5]}) do
    holds[#holds + 1] = part
  end
end
if ARGV[1] == 'all' then
  for _, name in ipairs(redis.call('ZRANGE', root .. 'counters', 0, -1)) do
    local sum = redis.call('HMGET', root .. 'sums:' .. name, 'spent', 'held', 'folded')
    if sum[1] then
      for _, part in ipairs({name, sum[1], sum[2] or '0', sum[3] or '0'}) do sums[#sums + 1] = part end
    else
      redis.call('ZREM', root .. 'counters', name) -- its window is long past
    end
  end
  slots = redis.call('HGETALL', root .. 'slots')
  local one = redis.call('XRANGE', root .. 'journal', '-', '+', 'COUNT', 1)
  if one[1] then
    first = one[1][1]
    last = redis.call('XREVRANGE', root .. 'journal', '+', '-', 'COUNT', 1)[1][1]
  end
end
return {time[1], time[2], sums, holds, slots, first, last}
