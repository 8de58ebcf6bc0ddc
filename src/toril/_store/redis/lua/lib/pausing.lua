-- What toril notes of a pause, and its end: BullMQ knows neither.
--
-- use    event numbers wake
-- emits  resumed
-- wire   W-04 W-131 W-132 W-136
local pausing = {}

local MERGED_A_CALL = 1000

-- Forget what was noted of a pause.
function pausing.forget(q)
  call("HDEL", q.settings, "pause", "pause_since", "pause_until")
end

-- Note who paused a queue and why, since when and until when; an empty text notes nothing.
function pausing.note(q, text, since_ms, until_ms)
  pausing.forget(q)
  if text ~= "" then
    call("HSET", q.settings, "pause", text, "pause_since", since_ms)
  end
  if until_ms ~= "" then
    call("HSET", q.settings, "pause_until", until_ms)
  end
end

-- Give when a pause ends, or false where it does not.
function pausing.ends(q)
  return numbers.count(call("HGET", q.settings, "pause_until")) or false
end

-- Let the ids of the list that BullMQ 5 kept while paused run first, as BullMQ 6 does.
local function merge(q)
  local ids = call("LRANGE", q.paused, 0, MERGED_A_CALL - 1)
  if #ids > 0 then
    call("LTRIM", q.paused, #ids, -1)
    call("RPUSH", q.wait, unpack(ids))
  end
  return call("LLEN", q.paused)
end

-- Resume a queue; give how many ids are left to be merged.
function pausing.resume(q)
  local changed = call("HDEL", q.meta, "paused") == 1
  local left = merge(q)
  pausing.forget(q)
  if changed then
    event.emit(q, "resumed")
  end
  return left
end

-- Resume a queue whose pause is over; give whether it is paused still, and until when.
function pausing.goes_on(q, now)
  local until_ms = pausing.ends(q)
  if not until_ms or until_ms > now then
    return true, until_ms
  elseif merge(q) > 0 then
    -- The rest is merged in the next call, so that none is passed by.
    return true, now
  end
  pausing.resume(q)
  wake.soon(q)
  return false
end

-- Forget the note of a queue that somebody else resumed, and resume one whose pause is over.
function pausing.tidy(q, now)
  if call("HEXISTS", q.meta, "paused") == 1 then
    pausing.goes_on(q, now)
  else
    pausing.forget(q)
  end
end

return pausing
