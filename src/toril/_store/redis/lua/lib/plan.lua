-- What the hash of a schedule says: how many runs it has had, whether it has more, and their options.
--
-- wire   W-91 W-92
local plan = {}

local MOST = 9007199254740991
local NUMBERS = { "every", "limit", "startDate", "endDate" }

-- Give how many runs a schedule has had, the armed one included; what is no count is none.
function plan.count(hash)
  local count = tonumber(hash.ic)
  return count and count >= 0 and count <= MOST and math.floor(count) or 0
end

-- Say whether a schedule may have a run at a time, after those that it has had.
function plan.allows(hash, at)
  local limit, last = tonumber(hash.limit), tonumber(hash.endDate)
  return not (limit and plan.count(hash) >= limit) and not (last and at > last)
end

-- Write the options of a run: those of the template, and what BullMQ makes the next one from.
function plan.options(id, hash, run, at, now, delay)
  local rule = { string.format('"count":%.0f', plan.count(hash)) }
  for _, name in ipairs({ "pattern", "tz" }) do
    rule[#rule + 1] = hash[name] and '"' .. name .. '":' .. cjson.encode(hash[name])
  end
  for i = 1, #NUMBERS do
    local number = (hash[NUMBERS[i]] or ""):match("^%d+$")
    rule[#rule + 1] = number and '"' .. NUMBERS[i] .. '":' .. number
  end
  local offset = (hash["toril:offset"] or ""):match("^%d+$")
  rule[#rule + 1] = offset and '"offset":' .. offset
  -- Of a name that stands twice readers take the second.
  local own = string.format('"repeat":{%s},"jobId":%s,"repeatJobKey":%s,"delay":%.0f,"timestamp":%.0f',
    table.concat(rule, ","), cjson.encode(run), cjson.encode(id), delay, now)
  if hash.pattern then
    own = own .. string.format(',"prevMillis":%.0f', at)
  end
  local template = (hash.opts or "{}"):match("^%s*{(.*)}%s*$") or ""
  return "{" .. template .. (template:match("%S") and "," or "") .. own .. "}"
end

return plan
