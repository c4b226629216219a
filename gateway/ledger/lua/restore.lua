-- Tell a server that has forgotten of a hold that its worker still has. After sums.lua, meters.lua.
--
-- ARGV  1 request id  2 amount  3 names of its counters, a JSON list  4 what it took of the meters  5 cost so far  6 line
--       7 lease in s  8 tokens  then for each counter: name, window, end_s
-- Answers 1, or 0 where the server knows the request.

local hold_key = root .. 'hold:' .. ARGV[1]
if call('EXISTS', hold_key, root .. 'settled:' .. ARGV[1]) > 0 then return 0 end
for at = 9, #ARGV, 3 do
  local sums = root .. 'sums:' .. ARGV[at]
  local new = call('HEXISTS', sums, 'listed') == 0
  call('HINCRBY', sums, 'held', ARGV[2])
  if new then begin(ARGV[at], ARGV[at + 1], ARGV[at + 2]) end
end
for _, one in ipairs(ARGV[4] ~= '' and cjson.decode(ARGV[4]) or {}) do
  local scope, measure, bucket, amount = one[1], one[2], one[3], one[4]
  if measure == 'parallel' then
    slot(scope, '1')
  elseif amount ~= '0' and tonumber(bucket) >= math.floor(now / bucket_s(measure)) - BUCKETS then
    pour(meter_key(scope, measure), bucket_s(measure), bucket, amount)
  end
end
call('HSET', hold_key, 'nanousd', ARGV[2], 'counters', ARGV[3], 'tokens', ARGV[8],
  'meters', ARGV[4], 'cost', ARGV[5], 'line', ARGV[6])
call('ZADD', root .. 'leases', format('%.6f', now + tonumber(ARGV[7])), ARGV[1])
return 1
