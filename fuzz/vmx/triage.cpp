#include "triage.hpp"

#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace horos::fuzz::vmx {

std::map<std::string, Known> load_triage(const std::string& file) {
    std::ifstream in(file);
    if (!in) {
        throw std::runtime_error(file + ": cannot be read");
    }
    std::map<std::string, Known> known;
    try {
        const auto document = nlohmann::json::parse(in);
        for (const auto& entry : document.at("clusters")) {
            const std::string key = entry.at("cluster").get<std::string>();
            known[key] = {entry.at("verdict").get<std::string>(),
                          entry.at("section").get<std::string>(),
                          entry.at("why").get<std::string>()};
        }
    } catch (const nlohmann::json::exception& error) {
        throw std::runtime_error(file + ": " + error.what());
    }
    return known;
}

bool is_known(const std::map<std::string, Known>& known, const std::string& key) {
    for (const auto& [pattern, entry] : known) {
        const bool prefix = pattern.ends_with('*');
        if (prefix ? key.starts_with(pattern.substr(0, pattern.size() - 1)) : key == pattern) {
            return true;
        }
    }
    return false;
}

} // namespace horos::fuzz::vmx
