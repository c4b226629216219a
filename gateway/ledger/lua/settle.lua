-- Release a hold, add the cost to every counter of the bill, write the journal entry: one atomic step. Where the hold was
-- lost and settled at its checkpoint, the difference is booked, once. After sums.lua, meters.lua.
--
-- ARGV  1 request id  2 cost  3 tokens  4 the journal's line  5 names of the bill's counters, a JSON list
--       then for each counter of the bill: name, window, end_s
-- Answers {'settled', by how much it exceeds its hold, the sums spent}, {'again'}, or {'uncountable', counter}.

local hold_key, mark_key = root .. 'hold:' .. ARGV[1], root .. 'settled:' .. ARGV[1]
local cost = ARGV[2]
local mark = redis.call('GET', mark_key)
local before, was = string.match(mark or '', '^lost (%d+) (.*)$')
if mark and not before then return {'again'} end

local hold = redis.call('HMGET', hold_key, 'nanousd', 'counters', 'meters')
local held = tonumber(hold[1] or 0)
if before then cost = text(tonumber(cost) - tonumber(before)) end -- no hold covers it: others may have what was held
local over = math.max(0, tonumber(cost) - held)
local tokens = math.min(math.max(tonumber(ARGV[3]), 0), MOST_TOKENS)
for at = 6, #ARGV, 3 do
  if not fits(ARGV[at], 'spent', tonumber(cost)) then return {'uncountable', ARGV[at]} end
end

local together = hold[2] == ARGV[5] -- the hold stands on the same counters, so they are all there
if held > 0 and not together then
  for _, name in ipairs(cjson.decode(hold[2])) do
    redis.call('HINCRBY', root .. 'sums:' .. name, 'held', less(hold[1]))
  end
end
local answer = {'settled', ''}
for at = 6, #ARGV, 3 do
  local sums = root .. 'sums:' .. ARGV[at]
  if together then redis.call('HINCRBY', sums, 'held', less(hold[1])) end
  local new = not together and redis.call('HEXISTS', sums, 'listed') == 0
  answer[#answer + 1] = redis.call('HINCRBY', sums, 'spent', cost)
  if new then begin(ARGV[at], ARGV[at + 1], ARGV[at + 2]) end
end
if hold[3] and hold[3] ~= '' then give_back(hold[3], tokens) end

redis.call('DEL', hold_key)
redis.call('ZREM', root .. 'leases', ARGV[1])
redis.call('SET', mark_key, '1', 'EX', SETTLED_S)
local entry = {'line', ARGV[4], 'counters', ARGV[5]}
if before then entry[5], entry[6], entry[7], entry[8] = 'cost', cost, 'adjusts', was end
if over > 0 then entry[#entry + 1], entry[#entry + 2] = 'overrun', text(over) end
redis.call('XADD', root .. 'journal', '*', unpack(entry))
answer[2] = text(over)
return answer
