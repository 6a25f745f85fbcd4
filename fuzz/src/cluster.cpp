#include "horos/fuzz/cluster.hpp"

#include "process.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace horos::fuzz {

namespace {

// "memory[404070f8]" and "gpr.rcx" would make one cause many rows: indices go, names stay.
std::string fieldClass(const std::string& field) {
    if (auto at = field.find('['); at != std::string::npos)
        return field.substr(0, at);
    return field;
}

std::string fieldList(const std::vector<Finding>& findings) {
    std::vector<std::string> names;
    for (const Finding& finding : findings) {
        // a different exit makes everything else differ; the exits are in the key already
        if (finding.field == "kind" || finding.field == "exit_code" ||
            finding.field == "control.exit_code")
            return "exit";
        std::string name = fieldClass(finding.field);
        if (std::find(names.begin(), names.end(), name) == names.end())
            names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    if (names.size() > 4)
        names.resize(4);
    return fmt::format("{}", fmt::join(names, ","));
}

} // namespace

std::string ClusterKey::text() const {
    return fmt::format("{}{}expected {}, observed {}{}{}", rules, rules.empty() ? "" : ": ",
                       expected, observed, fields.empty() ? "" : ": ", fields);
}

ClusterKey keyOf(const Divergence& d) {
    ClusterKey key;
    key.rules = fmt::format("{}", fmt::join(d.rules, "+"));
    key.expected = d.expected;
    key.observed = d.observed;
    key.fields = fieldList(d.findings);
    return key;
}

bool matches(const std::string& pattern, const std::string& text) {
    if (pattern.empty())
        return true;
    // the usual two-pointer wildcard match; '*' is the only special character
    size_t p = 0, t = 0, star = std::string::npos, mark = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            mark = t;
        } else if (p < pattern.size() && pattern[p] == text[t]) {
            ++p;
            ++t;
        } else if (star != std::string::npos) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*')
        ++p;
    return p == pattern.size();
}

Triage Triage::load(const std::string& path) {
    Triage triage;
    nlohmann::json json;
    try {
        json = nlohmann::json::parse(readFile(path));
        for (const auto& entry : json.at("divergences")) {
            Triaged t;
            t.id = entry.at("id").get<std::string>();
            t.verdict = entry.at("verdict").get<std::string>();
            t.section = entry.at("section").get<std::string>();
            t.evidence = entry.at("evidence").get<std::string>();
            const auto& match = entry.at("match");
            for (const auto& [name, value] : match.items())
                if (name != "rules" && name != "expected" && name != "observed" && name != "fields")
                    throw std::runtime_error(fmt::format("{}: match has no part '{}'", t.id, name));
            t.match = {match.value("rules", ""), match.value("expected", ""),
                       match.value("observed", ""), match.value("fields", "")};
            if (t.match == ClusterKey{})
                throw std::runtime_error(
                    fmt::format("{}: an empty match would hide everything", t.id));
            if (t.verdict != "target" && t.verdict != "unspecified" && t.verdict != "model")
                throw std::runtime_error(fmt::format(
                    "{}: verdict '{}' is not target, unspecified or model", t.id, t.verdict));
            if (t.section.empty() || t.evidence.empty())
                throw std::runtime_error(fmt::format("{}: section and evidence are wanted", t.id));
            triage.entries_.push_back(std::move(t));
        }
    } catch (const nlohmann::json::exception& error) {
        throw std::runtime_error(fmt::format("triage file {}: {}", path, error.what()));
    } catch (const std::runtime_error& error) {
        throw std::runtime_error(fmt::format("triage file {}: {}", path, error.what()));
    }
    return triage;
}

const Triaged* Triage::find(const ClusterKey& key) const {
    for (const Triaged& t : entries_)
        if (matches(t.match.rules, key.rules) && matches(t.match.expected, key.expected) &&
            matches(t.match.observed, key.observed) && matches(t.match.fields, key.fields))
            return &t;
    return nullptr;
}

std::pair<Cluster*, bool> Clusters::add(Divergence divergence, double seconds) {
    ++divergences_;
    ClusterKey key = keyOf(divergence);
    auto [at, fresh] = clusters_.try_emplace(key);
    Cluster& cluster = at->second;
    ++cluster.count;
    if (fresh) {
        cluster.key = key;
        cluster.example = std::move(divergence);
        cluster.firstSeen = seconds;
        cluster.known = triage_.find(key);
    }
    return {&cluster, fresh};
}

size_t Clusters::unknown() const {
    return size_t(std::count_if(clusters_.begin(), clusters_.end(),
                                [](const auto& entry) { return entry.second.known == nullptr; }));
}

void Clusters::rekey() {
    std::map<ClusterKey, Cluster> sorted;
    for (auto& [oldKey, cluster] : clusters_) {
        ClusterKey key = keyOf(cluster.example);
        auto [at, fresh] = sorted.try_emplace(key, cluster);
        Cluster& target = at->second;
        if (!fresh) {
            target.count += cluster.count;
            target.firstSeen = std::min(target.firstSeen, cluster.firstSeen);
            if (cluster.minimised && !target.minimised)
                target.example = cluster.example;
        }
        target.minimised |= cluster.minimised;
        target.key = key;
        target.known = triage_.find(key);
    }
    clusters_ = std::move(sorted);
}

} // namespace horos::fuzz
