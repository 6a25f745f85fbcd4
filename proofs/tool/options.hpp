// The command line.
#pragma once
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
    std::string cache;    // directory, empty = none
    std::string expected; // file that lists theorems that are known not to go through
    unsigned jobs = 2;
    unsigned timeout = 120;      // seconds for one theorem
    unsigned query_timeout = 10; // seconds for one query
    bool list = false;
    bool help = false;
    bool verbose = false;
};

Options parse_options(int argc, char** argv);
extern const char* const usage_text;

} // namespace horos::proofs
