#include "triage.hpp"

#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace horos::fuzz::vmx {

namespace {
Known known_of(const nlohmann::json& entry) {
    return {entry.at("verdict").get<std::string>(), entry.at("section").get<std::string>(),
            entry.at("why").get<std::string>()};
}
} // namespace

Triage load_triage(const std::string& file) {
    std::ifstream in(file);
    if (!in) {
        throw std::runtime_error(file + ": cannot be read");
    }
    Triage triage;
    try {
        const auto document = nlohmann::json::parse(in);
        for (const auto& entry : document.at("clusters")) {
            triage.clusters[entry.at("cluster").get<std::string>()] = known_of(entry);
        }
        for (const auto& entry : document.at("deviations")) {
            const auto name = entry.at("deviation").get<std::string>();
            const auto deviation = model::vmx::find_deviation(name);
            if (!deviation) {
                throw std::runtime_error(file + ": there is no deviation '" + name + "'");
            }
            triage.deviations.set(size_t(*deviation));
            triage.named[name] = known_of(entry);
        }
    } catch (const nlohmann::json::exception& error) {
        throw std::runtime_error(file + ": " + error.what());
    }
    return triage;
}

const Known* find_known(const std::map<std::string, Known>& known, const std::string& key) {
    for (const auto& [pattern, entry] : known) {
        const bool prefix = pattern.ends_with('*');
        if (prefix ? key.starts_with(pattern.substr(0, pattern.size() - 1)) : key == pattern) {
            return &entry;
        }
    }
    return nullptr;
}

} // namespace horos::fuzz::vmx
