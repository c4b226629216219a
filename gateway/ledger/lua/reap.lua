-- Settle holds past their deadline at their last checkpoint: as settle.lua does, but the mark says at what, since the
-- true bill may still come. What they took of the meters of tokens stays taken. After sums.lua, meters.lua.
--
-- ARGV  1 how many at most
-- Answers how many.

local function end_it(id, held, names, taken, cost, line)
  local over = text(math.max(0, tonumber(cost) - tonumber(held)))
  for _, name in ipairs(cjson.decode(names)) do
    local sums = root .. 'sums:' .. name
    if redis.call('EXISTS', sums) == 1 then
      redis.call('HINCRBY', sums, 'held', less(held))
      redis.call('HINCRBY', sums, 'spent', cost)
    end
  end
  if taken ~= '' then give_back(taken) end
  redis.call('DEL', root .. 'hold:' .. id)
  redis.call('SET', root .. 'settled:' .. id, 'lost ' .. cost .. ' ' .. (line ~= '' and line or '{}'), 'EX', SETTLED_S)
  local entry = {'line', line, 'counters', names, 'request_id', id, 'cost', cost}
  if over ~= '0' then entry[9], entry[10] = 'overrun', over end
  redis.call('XADD', root .. 'journal', '*', unpack(entry))
end

local lost = redis.call('ZRANGEBYSCORE', root .. 'leases', '-inf', string.format('%.6f', now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(lost) do
  local hold = redis.call('HMGET', root .. 'hold:' .. id, 'nanousd', 'counters', 'meters', 'cost', 'line')
  redis.call('ZREM', root .. 'leases', id)
  if hold[1] then end_it(id, hold[1], hold[2], hold[3], hold[4] or '0', hold[5]) end
end
return #lost
