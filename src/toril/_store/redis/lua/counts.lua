-- Count the jobs of queues in each state, each queue at one moment.
--
-- keys   queue...
-- wire   W-122
-- reply  for each queue: waiting, prioritized, delayed, active, waiting-children, completed, failed
local answers = {}
for i = 1, #queue do
  local q = queue[i]
  answers[i] = {
    call("LLEN", q.wait) + call("LLEN", q.paused), call("ZCARD", q.prioritized),
    call("ZCARD", q.delayed), call("LLEN", q.active), call("ZCARD", q.waiting_children),
    call("ZCARD", q.completed), call("ZCARD", q.failed),
  }
end
return answers
