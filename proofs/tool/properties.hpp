// What the groups of theorems mean, for whoever has to rely on them: the same words in every form
// of the report.
#pragma once
#include "run.hpp"

namespace horos::proofs {

struct Property {
    const char* group;
    const char* says;
    const char* means;   // how it is shown
    const char* bounds;  // within which it holds
    const char* rests;   // on what, besides what all rest on
    const char* without; // what it does not say
};
const std::vector<Property>& properties();
// Of a group that has no words of its own: empty ones.
Property property_of(const std::string& group);

struct Count {
    unsigned proved = 0, refuted = 0, unknown = 0;
    double seconds = 0;
    unsigned all() const { return proved + refuted + unknown; }
    void add(const Outcomes& outcome);
};
struct Summary {
    explicit Summary(const std::vector<Outcomes>& outcomes, const Options& options);
    std::vector<std::pair<std::string, Count>> groups; // in the order of the properties
    Count total;
    const Outcomes* slowest = nullptr;
    const Outcomes* largest = nullptr; // in memory
    unsigned cached = 0;
    std::string core, spec, image; // hashes
};
std::string seconds_text(double seconds);

} // namespace horos::proofs
