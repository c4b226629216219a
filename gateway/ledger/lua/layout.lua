-- Make the store's layout this version's, unless a newer Headgate has been here. After sums.lua.
--
-- ARGV  1 the layout  2 counters as a JSON list, found by who looked through a store without a layout's claim; or ''
-- Answers the layout that the store has; 'look' when its counters must be found first.
--
-- Layout 1 had no index of counters, and its holds (`holds`) no leases. They get one here: the bill of a request whose
-- worker still runs finds its hold until then, and is booked all the same after (reap.lua). A worker of layout 1 that is
-- still there may add more, and so they are looked for at each opening.

local HELD_S = 60

local claim = tonumber(call('GET', root .. 'claim:layout') or 1)
if claim > tonumber(ARGV[1]) then return tostring(claim) end
for _, id in ipairs(call('ZRANGE', root .. 'holds', 0, -1)) do
  local hold = root .. 'hold:' .. id
  if call('EXISTS', hold) == 1 then
    call('HSET', hold, 'tokens', '0', 'meters', '', 'cost', '0')
    call('ZADD', root .. 'leases', 'NX', format('%.6f', now + HELD_S), id)
  end
end
call('DEL', root .. 'holds')
if claim < tonumber(ARGV[1]) then
  local used = call('EXISTS', root .. 'journal', root .. 'records:key', root .. 'records:team', root .. 'leases')
  if ARGV[2] == '' and used > 0 then return 'look' end
  for _, name in ipairs(ARGV[2] ~= '' and cjson.decode(ARGV[2]) or {}) do
    local expires = call('EXPIRETIME', root .. 'sums:' .. name)
    if expires ~= -2 then call('ZADD', root .. 'counters', expires == -1 and '+inf' or expires, name) end
  end
  call('SET', root .. 'claim:layout', ARGV[1])
end
return ARGV[1]
