// Results that are kept: by the hash of everything that they depend on.
#pragma once
#include "run.hpp"

namespace horos::proofs {

class Cache {
public:
    // Keeps nothing when there is no directory for it.
    explicit Cache(const Options& options);
    bool read(Outcomes& outcome) const;
    void write(const Outcomes& outcome) const;

private:
    std::string path(const std::string& theorem) const;
    std::string key_;
    const Options& options_;
};

constexpr const char* out_of_time = "unknown: out of time";

} // namespace horos::proofs
