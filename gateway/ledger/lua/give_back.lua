-- What a hold took of its meters, as JSON [[scope, measure, bucket, amount], …], goes back to them: all slots are free
-- again, and of the tokens those that were not used, where their bucket still counts. `tokens` nil: nobody knows what was
-- used. After meters.lua.

local function give_back(taken, tokens)
  for _, one in ipairs(cjson.decode(taken)) do
    local scope, measure, bucket = one[1], one[2], one[3]
    if measure == 'parallel' then
      slot(scope, '-1')
    elseif tokens and counts_tokens(measure) then
      local change, size_s = tokens - tonumber(one[4]), bucket_s(measure)
      local present = math.floor(now / size_s)
      if change > 0 then -- used on top: it counts from now on
        local key = meter_key(scope, measure)
        pour(key, size_s, text(present), text(change))
        call('EXPIRE', key, (BUCKETS + 2) * size_s)
      elseif change < 0 and tonumber(bucket) >= present - BUCKETS then
        pour(meter_key(scope, measure), size_s, bucket, text(change))
      end
    end
  end
end
