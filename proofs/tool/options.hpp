// The command line.
#pragma once
#include <set>
#include <string>

namespace horos::proofs {

struct Options {
    std::string core = HOROS_CORE_BITCODE;
    std::string spec = HOROS_SPEC_BITCODE;
    std::string image = HOROS_IMAGE;
    std::string only;
    std::string json;
    std::string html;
    std::string assurance;
    std::string cache;             // directory, empty = none
    std::string expected;          // file that lists theorems that are known not to go through
    std::string tests;             // directory for counterexamples
    std::string table;             // of the mutants
    std::string proved;            // a report that says which theorems are
    std::string remarks;           // about single mutants, kept by hand
    std::string preface;           // of docs/assurance.md, kept by hand
    std::string mutant;            // set inside a trial: what was changed
    unsigned mutant_seconds = 120; // of processor time for one mutant
    unsigned mutants = 0;          // how many, 0 = prove the kernel itself
    std::set<unsigned> numbers;    // of those, the ones to try; none = all
    unsigned jobs = 2;
    unsigned timeout = 60;      // seconds of processor time for one theorem
    unsigned query_timeout = 8; // seconds for one query
    bool list = false;
    bool check_list = false;
    bool help = false;
    bool verbose = false;
};

Options parse_options(int argc, char** argv);
extern const char* const usage_text;

} // namespace horos::proofs
