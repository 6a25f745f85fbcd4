#include "json.hpp"

#include <llvm/Support/JSON.h>
#include <llvm/Support/raw_ostream.h>

namespace horos::proofs {

namespace json = llvm::json;

const char* verdict_name(Verdict verdict) {
    switch (verdict) {
    case Verdict::proved:
        return "proved";
    case Verdict::refuted:
        return "refuted";
    case Verdict::unknown:
        break;
    }
    return "unknown";
}

std::string to_json(const Result& r, double seconds, long megabytes) {
    json::Object o{{"verdict", verdict_name(r.verdict)},
                   {"bound", r.bound},
                   {"details", json::Array(r.details)},
                   {"rests_on", json::Array(r.lemmas)},
                   {"goals", r.goals},
                   {"rounds", r.rounds},
                   {"seconds", seconds},
                   {"megabytes", static_cast<int64_t>(megabytes)},
                   {"counterexample", json::fixUTF8(r.counterexample)},
                   {"test", json::fixUTF8(r.test)}};
    std::string text;
    llvm::raw_string_ostream(text) << json::Value(std::move(o));
    return text;
}

bool from_json(const std::string& text, Result& r, double& seconds, long& megabytes) {
    auto parsed = json::parse(text);
    if (!parsed) {
        llvm::consumeError(parsed.takeError());
        return false;
    }
    const json::Object* o = parsed->getAsObject();
    if (o == nullptr)
        return false;
    const auto list = [&](const char* key) {
        std::vector<std::string> all;
        if (const json::Array* a = o->getArray(key)) {
            for (const json::Value& v : *a)
                all.push_back(v.getAsString().value_or("").str());
        }
        return all;
    };
    const std::string verdict = o->getString("verdict").value_or("").str();
    r.verdict = verdict == "proved"    ? Verdict::proved
                : verdict == "refuted" ? Verdict::refuted
                                       : Verdict::unknown;
    r.bound = o->getString("bound").value_or("").str();
    r.details = list("details");
    r.lemmas = list("rests_on");
    r.goals = static_cast<unsigned>(o->getInteger("goals").value_or(0));
    r.rounds = static_cast<unsigned>(o->getInteger("rounds").value_or(0));
    seconds = o->getNumber("seconds").value_or(0);
    megabytes = o->getInteger("megabytes").value_or(0);
    r.counterexample = o->getString("counterexample").value_or("").str();
    r.test = o->getString("test").value_or("").str();
    return true;
}

} // namespace horos::proofs
