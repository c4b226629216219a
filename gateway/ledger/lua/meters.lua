-- Meters: a hash of bucket → amount, beside it `sum`, their total, and `at`, the bucket in which that was last put right.
-- Mirrors rules.py. The slots of requests at once are one hash by scope. A write costs a server three times what a
-- read does, since it goes into its append-only file too: what can be written at once is.

local BUCKETS = 60
local MOST_TOKENS = 1e12 -- of one request: HINCRBY fails past 2^63
local BUCKET_S = {rpm = 1, tpm = 1, rpd = 1440, tpd = 1440}

local function meter_key(scope, measure) return root .. 'meters:' .. scope .. '|' .. measure end

-- The buckets that still count, by index.
local function counting(key, bucket)
  local all, found = redis.call('HGETALL', key), {}
  for i = 1, #all, 2 do
    local index = tonumber(all[i])
    if index and index >= bucket - BUCKETS and all[i + 1] ~= '0' then found[index] = tonumber(all[i + 1]) end
  end
  return found
end

local function leaves_s(index, measure) return (index + BUCKETS + 1) * BUCKET_S[measure] - now end

-- Reads how full `m` is. Once in each bucket's time those that no longer count are let go.
local function fill(m)
  if m.measure == 'parallel' then
    m.used = tonumber(redis.call('HGET', root .. 'slots', m.scope) or 0)
    return
  end
  m.key, m.bucket = meter_key(m.scope, m.measure), math.floor(now / BUCKET_S[m.measure])
  local seen = redis.call('HMGET', m.key, 'at', 'sum', text(m.bucket))
  m.used, m.there = tonumber(seen[2] or 0), tonumber(seen[3] or 0)
  if not seen[1] or tonumber(seen[1]) == m.bucket then
    m.new = not seen[1]
    return
  end
  local kept, stay = {'at', text(m.bucket), 'sum', '0'}, counting(m.key, m.bucket)
  m.used = 0
  for index, amount in pairs(stay) do
    m.used = m.used + amount
    kept[#kept + 1], kept[#kept + 2] = text(index), text(amount)
  end
  kept[4] = text(m.used)
  m.there = stay[m.bucket] or 0
  redis.call('DEL', m.key)
  redis.call('HSET', m.key, unpack(kept))
  redis.call('EXPIRE', m.key, (BUCKETS + 2) * BUCKET_S[m.measure])
end

local function room_in_s(m, amount)
  local excess = m.used + amount - m.limit
  if excess <= 0 then return 0 end
  local counted, order = counting(m.key, m.bucket), {}
  for index in pairs(counted) do order[#order + 1] = index end
  table.sort(order)
  for _, index in ipairs(order) do
    excess = excess - counted[index]
    if excess <= 0 then return leaves_s(index, m.measure) end
  end
  return BUCKETS * BUCKET_S[m.measure]
end

-- Adds to one bucket, of a hash that may not be there yet.
local function pour(key, measure, bucket, amount)
  if redis.call('HINCRBY', key, bucket, amount) == 0 then redis.call('HDEL', key, bucket) end
  if redis.call('HINCRBY', key, 'sum', amount) ~= tonumber(amount) then return end -- it was there
  if redis.call('HSETNX', key, 'at', text(math.floor(now / BUCKET_S[measure]))) == 1 then
    redis.call('EXPIRE', key, (BUCKETS + 2) * BUCKET_S[measure])
  end
end

local function slot(scope, by)
  if redis.call('HINCRBY', root .. 'slots', scope, by) <= 0 then redis.call('HDEL', root .. 'slots', scope) end
end

-- What a hold took of its meters, as JSON [[scope, measure, bucket, amount], …]: all slots are free again, and of the
-- tokens those that were not used, where their bucket still counts. `tokens` nil: nobody knows what was used.
local function give_back(taken, tokens)
  for _, one in ipairs(cjson.decode(taken)) do
    local scope, measure, bucket = one[1], one[2], one[3]
    if measure == 'parallel' then
      slot(scope, '-1')
    elseif tokens and (measure == 'tpm' or measure == 'tpd') then
      local change, present = tokens - tonumber(one[4]), math.floor(now / BUCKET_S[measure])
      if change > 0 then -- used on top: it counts from now on
        pour(meter_key(scope, measure), measure, present, text(change))
        redis.call('EXPIRE', meter_key(scope, measure), (BUCKETS + 2) * BUCKET_S[measure])
      elseif change < 0 and tonumber(bucket) >= present - BUCKETS then
        pour(meter_key(scope, measure), measure, bucket, text(change))
      end
    end
  end
end
