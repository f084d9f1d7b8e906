-- For the scripts of wrk: numbers the threads, and prints one line of JSON at the end. Each script counts `wrong` answers.
local threads = {}

function setup(thread)
    thread:set("number", #threads)
    table.insert(threads, thread)
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
