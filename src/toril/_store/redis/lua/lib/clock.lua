-- The time: the server's own, unless a test says what time it is.
local clock = {}

-- Give the time in ms, and let events bear it; `clock.text` is the same, ready to be stored.
function clock.now(given)
  if given ~= "" then
    clock.given, clock.text = given, given
    return tonumber(given)
  end
  local time = call("TIME")
  local ms = math.floor(time[2] / 1000)
  clock.text = time[1] .. string.format("%03d", ms)
  return time[1] * 1000 + ms
end

-- Give the id for an event: the server's, or one that bears a test's time.
function clock.id()
  return clock.given and clock.given .. "-*" or "*"
end

return clock
