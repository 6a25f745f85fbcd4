// A campaign's results for programs (JSON) and for people (text, Markdown, one HTML page), and the
// files that reproduce a cluster.
#pragma once

#include "campaign.hpp"

#include <nlohmann/json_fwd.hpp>

namespace horos::fuzz::vmx {

nlohmann::json to_json(const Report& report);
std::string to_html(const Report& report);
std::string to_markdown(const Report& report);
void print(const Report& report);

nlohmann::json to_json(const Test& test);
Test test_from_json(const nlohmann::json& json); // throws std::runtime_error, naming the key

} // namespace horos::fuzz::vmx
