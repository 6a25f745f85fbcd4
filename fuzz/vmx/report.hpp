// A campaign's results for programs (JSON) and for people (text, Markdown, one HTML page), and the
// files that reproduce a cluster.
#pragma once

#include "campaign.hpp"
#include "standalone.hpp"

#include <nlohmann/json_fwd.hpp>

namespace horos::fuzz::vmx {

nlohmann::json to_json(const Report& report);
std::string to_html(const Report& report);
std::string to_markdown(const Report& report);
void print(const Report& report);

nlohmann::json to_json(const Test& test);
Test test_from_json(const nlohmann::json& json); // throws std::runtime_error, naming the key

// standalone.cpp. What the model says of a case, in the harness's result; throws when it is open or
// several outcomes are allowed.
std::vector<Expectation> expectations(const Test& test, const Profile& profile);
// case.json, regression_test.cpp, and standalone.rom with its bochsrc. `launch` is the base state's
// entry. `falsify`: with one wrong expectation, to see that the image notices.
void write_reproducer(const std::string& folder, const std::string& title, const Test& test,
                      const Test& launch, const Options& options, bool falsify);

} // namespace horos::fuzz::vmx
