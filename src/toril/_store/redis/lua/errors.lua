-- Read groups of errors of queues, those seen last first; samples are added up before.
--
-- keys   queue...
-- args   since limit
-- use    faults fold
-- wire   W-151 W-153
-- reply  for each queue: fingerprints and groups by turns
local answers = {}
for i = 1, #queue do
  local base, found = queue[i].base, {}
  if call("LLEN", base .. "toril:samples") > 0 then
    fold.samples(base)
  end
  local groups = call("ZREVRANGEBYSCORE", base .. "toril:errors:seen", "+inf", arg.since, "LIMIT", 0,
    arg.limit)
  for j = 1, #groups do
    found[2 * j - 1], found[2 * j] = groups[j], call("HGET", base .. "toril:errors", groups[j])
  end
  answers[i] = found
end
return answers
