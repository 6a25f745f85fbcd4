// What is known of a target's divergences: fuzz/triage/bochs-vmx-bochs-2.7.json.
#pragma once

#include <map>
#include <string>

namespace horos::fuzz::vmx {

struct Known {
    std::string verdict; // "emulator" or "manual leaves it open"
    std::string section;
    std::string why;
};
// By cluster key; a key that ends in '*' stands for all that begin so. Throws std::runtime_error
// that names the file and the entry.
std::map<std::string, Known> load_triage(const std::string& file);
bool is_known(const std::map<std::string, Known>& known, const std::string& key);

} // namespace horos::fuzz::vmx
