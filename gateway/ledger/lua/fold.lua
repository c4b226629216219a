-- Let the journal's oldest entries go, with what they came to kept beside the sums and by group: one atomic step.
-- After sums.lua.
--
-- ARGV  1 number of entries  2 number of counters  3 the id behind the last entry
--       then the entries' ids; for each counter: name, cost; then for each group: day, and a field and amount by which
--       it grows
-- Answers 1, or 0 where these are not the oldest.

local entries, counters = tonumber(ARGV[1]), tonumber(ARGV[2])
local oldest = call('XRANGE', root .. 'journal', '-', '+', 'COUNT', entries)
for i = 1, entries do
  if not oldest[i] or oldest[i][1] ~= ARGV[3 + i] then return 0 end
end
local at = 3 + entries
for _ = 1, counters do
  local sums = root .. 'sums:' .. ARGV[at + 1]
  if call('EXISTS', sums) == 1 then call('HINCRBY', sums, 'folded', ARGV[at + 2]) end
  at = at + 2
end
for i = at + 1, #ARGV, 3 do
  call('ZADD', root .. 'days', '0', ARGV[i])
  local fold = root .. 'folds:' .. ARGV[i]
  if sub(ARGV[i + 1], 1, 6) == 'usage ' then
    redis.pcall('HINCRBY', fold, ARGV[i + 1], ARGV[i + 2]) -- may pass 2^63, where a provider counted nonsense
  else
    call('HINCRBY', fold, ARGV[i + 1], ARGV[i + 2])
  end
end
call('XTRIM', root .. 'journal', 'MINID', '=', ARGV[3])
return 1
