-- For wrk: compares each answer with the file that its first argument names, apart from what the second, a Lua pattern,
-- finds in it, and prints one line of JSON at the end.
local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(arguments)
    local file = io.open(arguments[1], "rb")
    expected, varies, wrong = file:read("*a"), arguments[2], 0
    file:close()
    if varies ~= "" then
        expected = expected:gsub(varies, "")
    end
end

function response(status, headers, body)
    if varies ~= "" then
        body = body:gsub(varies, "")
    end
    if status ~= 200 or body ~= expected then
        wrong = wrong + 1
    end
end

function done(summary, latency, requests)
    local errors, wrong = summary.errors, 0
    for _, thread in ipairs(threads) do
        wrong = wrong + thread:get("wrong")
    end
    io.write(string.format(
        '\n{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "wrong": %d, "socket": %d, "timeout": %d}',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, wrong,
        errors.connect + errors.read + errors.write, errors.timeout
    ))
end
