-- Read what holds for whole queues.
--
-- keys   queue...
-- use    clock rules
-- wire   W-130
-- reply  for each queue: see rules.of
local now, answers = clock.now(""), {}
for i = 1, #queue do
  answers[i] = rules.of(queue[i], now)
end
return answers
