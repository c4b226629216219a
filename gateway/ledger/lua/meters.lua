-- Meters: a hash of bucket → amount, beside it `sum`, their total, and `at`, the bucket in which that was last put right.
-- Mirrors rules.py. The slots of requests at once are one hash by scope.

local BUCKETS = 60
local MOST_TOKENS = 1e12 -- of one request: HINCRBY fails past 2^63

-- How long a bucket is, in seconds.
local function bucket_s(measure) return (measure == 'rpd' or measure == 'tpd') and 1440 or 1 end

local function meter_key(scope, measure) return root .. 'meters:' .. scope .. '|' .. measure end

-- As rules.Meter.name, of how reserve.lua is told of a meter.
local function meter_name(key, letter)
  return letter == 'p' and key .. '|parallel' or sub(key, #root + 8) -- behind `meters:`
end

local function counts_tokens(measure) return measure == 'tpm' or measure == 'tpd' end

-- Adds to one bucket, of a hash that may not be there yet.
local function pour(key, size_s, bucket, amount)
  if call('HINCRBY', key, bucket, amount) == 0 then call('HDEL', key, bucket) end
  if call('HINCRBY', key, 'sum', amount) ~= tonumber(amount) then return end -- it was there
  if call('HSETNX', key, 'at', text(math.floor(now / size_s))) == 1 then
    call('EXPIRE', key, (BUCKETS + 2) * size_s)
  end
end

local function slot(scope, by)
  if call('HINCRBY', root .. 'slots', scope, by) <= 0 then call('HDEL', root .. 'slots', scope) end
end
