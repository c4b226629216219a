-- Release a hold, add the cost to every counter of the bill, write the journal entry: one atomic step. Where the hold was
-- lost and settled at its checkpoint, the difference is booked, once. After sums.lua, meters.lua, give_back.lua.
--
-- ARGV  1 request id  2 cost  3 tokens  4 the journal's line  5 names of the bill's counters, a JSON list
--       6 for each its window, start_s and end_s, a JSON list of lists of texts
--       then for each counter of the bill the key of its sums
-- Answers {'settled', by how much it exceeds its hold, the sums spent}, {'again', the sums}, or {'uncountable', counter}.

local hold_key, mark_key = root .. 'hold:' .. ARGV[1], root .. 'settled:' .. ARGV[1]
local cost = ARGV[2]
local hold = call('HMGET', hold_key, 'nanousd', 'counters', 'meters')
local before, was
if not hold[1] then -- what is held has no mark yet
  local mark = call('GET', mark_key)
  before, was = string.match(mark or '', '^lost (%d+) (.*)$')
  if mark and not before then -- a write, so that WAIT and WAITAOF wait for what this connection has not written itself
    call('EXPIRE', mark_key, SETTLED_S)
    local sums = {'again'}
    for i = 7, #ARGV do sums[i - 5] = tonumber(call('HGET', ARGV[i], 'spent') or 0) end
    return sums
  end
end

local held = tonumber(hold[1] or 0)
if before then cost = text(tonumber(cost) - tonumber(before)) end -- no hold covers it: others may have what was held
local due = tonumber(cost)
local over = math.max(0, due - held)
if due >= SMALL then
  for i = 7, #ARGV do
    local name = sub(ARGV[i], #root + 6) -- behind `sums:`
    if not fits(name, 'spent', due) then return {'uncountable', name} end
  end
end

local together = hold[2] == ARGV[5] -- the hold stands on the same counters, so they are all there
local answer = {'settled', ''}
if together then
  local back = less(hold[1])
  for i = 7, #ARGV do
    call('HINCRBY', ARGV[i], 'held', back)
    answer[i - 4] = call('HINCRBY', ARGV[i], 'spent', cost)
  end
else
  if held > 0 then
    for _, name in ipairs(cjson.decode(hold[2])) do call('HINCRBY', root .. 'sums:' .. name, 'held', less(hold[1])) end
  end
  local windows = cjson.decode(ARGV[6])
  for i = 7, #ARGV do
    local new = call('HEXISTS', ARGV[i], 'listed') == 0
    answer[i - 4] = call('HINCRBY', ARGV[i], 'spent', cost)
    if new then begin(sub(ARGV[i], #root + 6), windows[i - 6][1], windows[i - 6][3]) end
  end
end
if hold[3] and hold[3] ~= '' then give_back(hold[3], math.min(math.max(tonumber(ARGV[3]), 0), MOST_TOKENS)) end

call('DEL', hold_key)
call('ZREM', root .. 'leases', ARGV[1])
call('SET', mark_key, '1', 'EX', SETTLED_S)
if over == 0 and not before then
  call('XADD', root .. 'journal', '*', 'line', ARGV[4], 'counters', ARGV[5])
else
  local entry = {'line', ARGV[4], 'counters', ARGV[5]}
  if before then entry[5], entry[6], entry[7], entry[8] = 'cost', cost, 'adjusts', was end
  if over > 0 then entry[#entry + 1], entry[#entry + 2] = 'overrun', text(over) end
  call('XADD', root .. 'journal', '*', unpack(entry))
end
answer[2] = text(over)
return answer
