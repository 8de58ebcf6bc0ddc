-- Whether the keys of a queue hold what they should: their kind of value, or nothing.
--
-- A script that fails half way keeps what it has written. So it asks here before its first write.
local sound = {}

-- A command that fails if the key of a role holds another kind of value.
local READ = {
  wait = "LLEN", active = "LLEN", paused = "LLEN", prioritized = "ZCARD", delayed = "ZCARD",
  waiting_children = "ZCARD", completed = "ZCARD", failed = "ZCARD", marker = "ZCARD",
  schedules = "ZCARD", limits = "ZCARD", stalled = "SCARD", events = "XLEN", meta = "HLEN",
  settings = "HLEN", wishes = "HLEN", id = "GET", pc = "GET", limiter = "GET",
}

-- What a job passes through from its claim to its end.
sound.JOBS = {
  "wait", "active", "prioritized", "delayed", "completed", "failed", "marker", "events", "meta",
  "limiter", "settings",
}

-- Every key of a queue that scripts write to.
sound.ALL = {
  "wait", "active", "paused", "prioritized", "delayed", "waiting_children", "completed", "failed",
  "marker", "schedules", "limits", "stalled", "events", "meta", "settings", "wishes", "id", "pc",
  "limiter",
}

-- Return the role of the first key that holds another kind of value, and its error; nil: all fit.
local function misfit(q, roles)
  for i = 1, #roles do
    local reply = redis.pcall(READ[roles[i]], q[roles[i]])
    if type(reply) == "table" and reply.err then
      return roles[i], reply.err
    end
  end
end

-- Return what is wrong with the keys that a job passes through, or false; looked up once a call.
function sound.fault(q)
  if q.unsound == nil then
    local role, text = misfit(q, sound.JOBS)
    q.unsound = role and text .. " (" .. q[role] .. ")" or false
  end
  return q.unsound
end

-- Raise the error of a key that holds another kind of value.
function sound.check(q, roles)
  local role = misfit(q, roles)
  if role then
    call(READ[role], q[role])
  end
end

return sound
