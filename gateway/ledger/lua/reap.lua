-- Settle holds past their deadline at their last checkpoint: as settle.lua does, but the mark says at what, since the
-- true bill may still come. What they took of the meters of tokens stays taken. After sums.lua, meters.lua,
-- give_back.lua.
--
-- ARGV  1 how many at most  2 for how many seconds reaps must have come without a pause
-- Answers how many.

local PAUSE_S = 3

-- Mirrors rules.steady_since: whether they have. While nothing is held nobody asks, and nothing is written.
local function steady()
  if call('EXISTS', root .. 'leases') == 0 then return false end
  local seen = call('HMGET', root .. 'reaper', 'seen', 'steady')
  local gap_s, since = now - tonumber(seen[1] or 0), tonumber(seen[2] or 0)
  if not seen[1] or gap_s < 0 or gap_s > PAUSE_S then since = now end
  call('HSET', root .. 'reaper', 'seen', format('%.6f', now), 'steady', format('%.6f', since))
  return now - since >= tonumber(ARGV[2])
end

local LATER_S = 60

local function countable(names, cost)
  for _, name in ipairs(cjson.decode(names)) do
    if not fits(name, 'spent', tonumber(cost)) then return false end
  end
  return true
end

-- A hold of layout 1 has no line. It leaves no mark: its worker would take that for its own bill, which may still come.
local function end_it(id, held, names, taken, cost, line)
  local over = text(math.max(0, tonumber(cost) - tonumber(held)))
  for _, name in ipairs(cjson.decode(names)) do
    local sums = root .. 'sums:' .. name
    if call('EXISTS', sums) == 1 then
      call('HINCRBY', sums, 'held', less(held))
      call('HINCRBY', sums, 'spent', cost)
    end
  end
  if taken ~= '' then give_back(taken) end
  call('DEL', root .. 'hold:' .. id)
  if line then
    call('SET', root .. 'settled:' .. id, 'lost ' .. cost .. ' ' .. (line ~= '' and line or '{}'), 'EX', SETTLED_S)
  end
  local entry = {'line', line or '', 'counters', names, 'request_id', id, 'cost', cost}
  if over ~= '0' then entry[9], entry[10] = 'overrun', over end
  call('XADD', root .. 'journal', '*', unpack(entry))
end

if not steady() then return 0 end
local lost = call('ZRANGEBYSCORE', root .. 'leases', '-inf', format('%.6f', now), 'LIMIT', 0, ARGV[1])
local ended = 0
for _, id in ipairs(lost) do
  local hold = call('HMGET', root .. 'hold:' .. id, 'nanousd', 'counters', 'meters', 'cost', 'line')
  local cost = hold[4] or '0'
  if hold[1] and not countable(hold[2], cost) then -- it must not keep the others from their end
    call('ZADD', root .. 'leases', format('%.6f', now + LATER_S), id)
  else
    call('ZREM', root .. 'leases', id)
    if hold[1] then
      end_it(id, hold[1], hold[2], hold[3], cost, hold[5])
      ended = ended + 1
    end
  end
end
return ended
