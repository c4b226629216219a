-- One instant of the store: its holds, or a page of its counters and where the journal stands. After sums.lua.
--
-- ARGV  1 'holds': every hold with its line; 'page': counters; 'all': both, the holds without their lines but with their
--       counters  2 the last page's last counter or ''  3 how many counters  4 names of some more, a JSON list
-- Answers {s, us, [name, spent, held, folded …], [id, deadline, nanousd, cost, counters, meters, line …],
-- [scope, running …], the first entry's id, the last one's, the page's last counter or '' where no more are behind it},
-- each list flat.

local what, sums, holds, slots, first, last, after = ARGV[1], {}, {}, {}, '', '', ''
local named = {}

local function look(name)
  if named[name] then return end
  named[name] = true
  local sum = call('HMGET', root .. 'sums:' .. name, 'spent', 'held', 'folded')
  if not sum[1] then return end -- its window is long past
  local at = #sums
  sums[at + 1], sums[at + 2], sums[at + 3], sums[at + 4] = name, sum[1], sum[2] or '0', sum[3] or '0'
end

if what ~= 'holds' then
  -- in order of when they go, then of name: neither changes, and what has gone meanwhile stood before all the others
  local rank = ARGV[2] ~= '' and call('ZRANK', root .. 'counters', ARGV[2])
  local from, limit = rank and rank + 1 or 0, tonumber(ARGV[3])
  local page = limit > 0 and call('ZRANGE', root .. 'counters', from, from + limit - 1) or {}
  for _, name in ipairs(page) do look(name) end
  if #page == limit then after = page[limit] or '' end
  for _, name in ipairs(cjson.decode(ARGV[4])) do look(name) end
  local one = call('XRANGE', root .. 'journal', '-', '+', 'COUNT', 1)
  if one[1] then
    first = one[1][1]
    last = call('XREVRANGE', root .. 'journal', '+', '-', 'COUNT', 1)[1][1]
  end
end
if what ~= 'page' then
  local leases = call('ZRANGE', root .. 'leases', 0, -1, 'WITHSCORES')
  for i = 1, #leases, 2 do
    local key, line = root .. 'hold:' .. leases[i], false
    local hold = call('HMGET', key, 'nanousd', 'cost', 'counters', 'meters')
    if hold[1] then -- a worker of layout 1 that settles one leaves its lease
      if what == 'holds' then
        line = call('HGET', key, 'line')
      else
        for _, name in ipairs(cjson.decode(hold[3])) do look(name) end
      end
      local at = #holds
      holds[at + 1], holds[at + 2], holds[at + 3], holds[at + 4] = leases[i], leases[i + 1], hold[1], hold[2] or '0'
      holds[at + 5], holds[at + 6], holds[at + 7] = hold[3], hold[4], line
    end
  end
  slots = call('HGETALL', root .. 'slots')
end
return {time[1], time[2], sums, holds, slots, first, last, after}
