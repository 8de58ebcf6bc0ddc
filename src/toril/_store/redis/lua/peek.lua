-- Say of each queue whether a job of it could be claimed now; nothing is changed.
--
-- keys   queue...
-- args   now
-- use    clock numbers pausing place rules
-- wire   W-50 W-51
-- reply  for each queue: 1 or 0
local function ready(q, now)
  if call("LLEN", q.wait) + call("ZCARD", q.prioritized) > 0 then
    return true
  end
  return #call("ZRANGEBYSCORE", q.delayed, "-inf", place.due_by(now), "LIMIT", 0, 1) > 0
end

-- Say whether the queue lets nobody start a job now.
local function held(q, now)
  local paused, most, _, _, limited = unpack(rules.of(q, now))
  if paused == 1 and (pausing.ends(q) or now + 1) > now then
    return true
  end
  return limited or numbers.count(most) and call("LLEN", q.active) >= numbers.count(most)
end

local function claimable(q, now)
  return ready(q, now) and not held(q, now)
end

local now, answers = clock.now(arg.now), {}
for i = 1, #queue do
  -- Nothing can be claimed of a queue with a key of another kind.
  local sound, found = pcall(claimable, queue[i], now)
  answers[i] = sound and found and 1 or 0
end
return answers
