// Runs theorems in processes of their own, with a limit of time, and collects what became of them.
#pragma once
#include "options.hpp"
#include "proofs/theorems/theorem.hpp"

namespace horos::proofs {

struct Outcomes {
    std::string name;
    std::string group;
    std::string says;
    Result result;
    double seconds = 0;
    long megabytes = 0;
    bool cached = false;
};

std::vector<Theorem> all_theorems(const Bitcode& bitcode, const Options& options);
std::vector<Outcomes> run_all(Bitcode& bitcode, const std::vector<Theorem>& theorems,
                              const Options& options,
                              const std::function<void(const Outcomes&)>& done = {});
std::string file_hash(const std::string& path); // SHA-1; "-" when there is no such file

} // namespace horos::proofs
