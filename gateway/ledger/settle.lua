-- Release a hold, add the cost to every counter of the bill, write the journal entry: one atomic step.
--
-- KEYS  1 the hold  2 the mark of a settled request  3 the index of live holds  4 the journal
--       then for each counter of the bill: its sums, and its scope's index of windows
--       then the sums of further counters that the hold stands on
-- ARGV  1 request id  2 cost  3 the journal's line  4 names of the bill's counters, a JSON list
--       5 seconds that a counter outlives its window  6 seconds that the mark stays  7 number of the bill's counters
--       then for each counter of the bill: name, window, end_s; then the names of the further counters
-- Answers {'settled', held}, {'again'}, or {'counters', names}: these are held on too, and must be among the KEYS.

if redis.call('EXISTS', KEYS[2]) == 1 then return {'again'} end

local BILLED = tonumber(ARGV[7])
local sums_of = {}
for i = 1, BILLED do sums_of[ARGV[5 + 3 * i]] = KEYS[3 + 2 * i] end
for i = 1, #KEYS - 4 - 2 * BILLED do sums_of[ARGV[7 + 3 * BILLED + i]] = KEYS[4 + 2 * BILLED + i] end

local hold = redis.call('HMGET', KEYS[1], 'nanousd', 'counters')
local held, names = hold[1] or '0', cjson.decode(hold[2] or '[]')
for _, name in ipairs(names) do
  if not sums_of[name] then return {'counters', hold[2]} end
end
if held ~= '0' then
  for _, name in ipairs(names) do redis.call('HINCRBY', sums_of[name], 'held', '-' .. held) end
end

local time = redis.call('TIME')
for i = 1, BILLED do
  local sums, windows, window, end_s = KEYS[3 + 2 * i], KEYS[4 + 2 * i], ARGV[6 + 3 * i], tonumber(ARGV[7 + 3 * i])
  local new = redis.call('EXISTS', sums) == 0
  redis.call('HINCRBY', sums, 'spent', ARGV[2])
  if new then
    redis.call('HINCRBY', sums, 'held', '0')
    redis.call('ZADD', windows, end_s > 0 and ARGV[7 + 3 * i] or '+inf', window)
    redis.call('ZREMRANGEBYSCORE', windows, '-inf', string.format('%.0f', tonumber(time[1]) - tonumber(ARGV[5])))
    if end_s > 0 then redis.call('EXPIREAT', sums, string.format('%.0f', end_s + tonumber(ARGV[5]))) end
  end
end

redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('SET', KEYS[2], '1', 'EX', ARGV[6])
redis.call('XADD', KEYS[4], '*', 'line', ARGV[3], 'counters', ARGV[4])
return {'settled', held}
