-- Make the store's layout this version's, unless a newer Headgate has been here. After sums.lua.
--
-- ARGV  1 the layout  2 counters as a JSON list, found by who looked through a store without a layout's claim; or ''
-- Answers the layout that the store has; 'look' when its counters must be found first.
--
-- Layout 1 had no index of counters, and its holds (`holds`, no leases) end here: what they cost is billed all the same.

local claim = tonumber(redis.call('GET', root .. 'claim:layout') or 1)
if claim > tonumber(ARGV[1]) then return tostring(claim) end
for _, id in ipairs(redis.call('ZRANGE', root .. 'holds', 0, -1)) do
  local hold = redis.call('HMGET', root .. 'hold:' .. id, 'nanousd', 'counters')
  for _, name in ipairs(hold[2] and cjson.decode(hold[2]) or {}) do
    redis.call('HINCRBY', root .. 'sums:' .. name, 'held', less(hold[1]))
  end
  redis.call('DEL', root .. 'hold:' .. id)
end
redis.call('DEL', root .. 'holds')
if claim < tonumber(ARGV[1]) then
  if ARGV[2] == '' and redis.call('EXISTS', root .. 'journal') == 1 then return 'look' end
  for _, name in ipairs(ARGV[2] ~= '' and cjson.decode(ARGV[2]) or {}) do
    local expires = redis.call('EXPIRETIME', root .. 'sums:' .. name)
    if expires ~= -2 then redis.call('ZADD', root .. 'counters', expires == -1 and '+inf' or expires, name) end
  end
  redis.call('SET', root .. 'claim:layout', ARGV[1])
end
return ARGV[1]
