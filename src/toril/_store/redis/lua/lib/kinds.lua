-- Which kind of value each key of a queue holds, if it holds one.
local kinds = {}

-- A command that fails if the key of a role holds another kind of value.
local READ = {
  wait = "LLEN", active = "LLEN", paused = "LLEN", prioritized = "ZCARD", delayed = "ZCARD",
  waiting_children = "ZCARD", completed = "ZCARD", failed = "ZCARD", marker = "ZCARD",
  schedules = "ZCARD", limits = "ZCARD", stalled = "SCARD", events = "XLEN", meta = "HLEN",
  settings = "HLEN", wishes = "HLEN", id = "GET", pc = "GET", limiter = "GET",
}

-- Every key of a queue that scripts write to.
kinds.ALL = {
  "wait", "active", "paused", "prioritized", "delayed", "waiting_children", "completed", "failed",
  "marker", "schedules", "limits", "stalled", "events", "meta", "settings", "wishes", "id", "pc",
  "limiter",
}

-- Raise the error of the first of these roles whose key holds another kind of value.
function kinds.check(q, roles)
  for i = 1, #roles do
    call(READ[roles[i]], q[roles[i]])
  end
end

return kinds
