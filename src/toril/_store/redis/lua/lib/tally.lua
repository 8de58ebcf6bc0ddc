-- What a call counts: one sample a queue, in a short list beside the buckets that it is added up in.
--
-- A sample is a time and JSON: per task, keys and numbers. A counter that cannot be written costs no
-- job.
--
-- use    clock fold
-- wire   W-150 W-151 W-153
local tally = {}

local LOG2 = math.log(2)
local A_FOLD = 256
local LONGEST_NAME = 100

-- Return the cell of a histogram that a duration is in: four for each doubling.
local function cell(ms)
  return ms > 1 and math.floor(4 * math.log(ms) / LOG2 + 1e-9) or 0
end

local function lasted(one, key, ms)
  ms = ms > 0 and ms or 0
  one[key] = (one[key] or 0) + ms
  key = key .. cell(ms)
  one[key] = (one[key] or 0) + 1
end

-- Count a job of a task in a sample: what became of it, and how long it ran and had waited, if given.
function tally.count(sample, name, what, run, wait)
  name = name and #name <= LONGEST_NAME and name or "(other)"
  local one = sample[name]
  if not one then
    one = {}
    sample[name] = one
  end
  one[what] = (one[what] or 0) + 1
  if run then
    lasted(one, "t", run)
  end
  if wait then
    lasted(one, "w", wait)
  end
end

-- Note why an attempt of a job failed: JSON that was written elsewhere.
function tally.blame(q, id, name, fault)
  local job = cjson.encode({ id, name }):sub(1, -2)
  attempt("RPUSH", q.base .. "toril:samples", clock.text .. " !" .. job .. "," .. fault .. "]")
end

-- Keep a sample of a queue; add samples up when they are many.
function tally.keep(base, sample)
  local key = base .. "toril:samples"
  local count = attempt("RPUSH", key, clock.text .. " " .. cjson.encode(sample))
  if type(count) == "number" and count >= A_FOLD and not pcall(fold.samples, base) then
    attempt("LTRIM", key, -A_FOLD, -1)
  end
end

-- Count a job in the sample of a queue, which `event.close` keeps.
function tally.add(q, name, what, run, wait)
  q.sample = q.sample or {}
  tally.count(q.sample, name, what, run, wait)
end

return tally
