// What is known of a target's divergences: fuzz/triage/bochs-vmx-bochs-2.7.json.
#pragma once

#include "horos/model/vmx/guest.hpp"

#include <map>
#include <string>

namespace horos::fuzz::vmx {

struct Known {
    std::string verdict; // "emulator" or "manual leaves it open"
    std::string section;
    std::string why;
};
// `clusters`: by cluster key; a key that ends in '*' stands for all that begin so. `deviations`: a
// wrong behaviour that the model can predict with.
struct Triage {
    std::map<std::string, Known> clusters;
    std::map<std::string, Known> named; // by the deviation's name
    model::vmx::Deviations deviations;
};
// Throws std::runtime_error that names the file and the entry.
Triage load_triage(const std::string& file);
const Known* find_known(const std::map<std::string, Known>& known, const std::string& key);

} // namespace horos::fuzz::vmx
