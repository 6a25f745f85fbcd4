// horos-prove: proves theorems about the kernel's bitcode, each in a process of its own.
#include "mutants.hpp"
#include "options.hpp"
#include "report.hpp"
#include "run.hpp"

#include <cstdio>
#include <exception>

using namespace horos::proofs;

int main(int argc, char** argv) {
    try {
        const Options options = parse_options(argc, argv);
        if (options.help)
            return 0;
        const auto bitcode = load_bitcode(options.core, options.spec);
        if (options.check_list)
            return check_list(*bitcode, options);
        if (options.mutants != 0)
            return run_mutants(*bitcode, options);
        std::vector<Theorem> theorems = all_theorems(*bitcode, options);
        if (theorems.empty()) {
            std::fprintf(stderr, "horos prove: error: no theorem matches '%s'; see --list\n",
                         options.only.c_str());
            return 2;
        }
        if (options.list) {
            for (const Theorem& t : theorems)
                std::printf("%-36s %s\n", t.name.c_str(), t.says.c_str());
            return 0;
        }
        const std::vector<Outcomes> outcomes = run_all(*bitcode, theorems, options);
        return report(outcomes, options);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "horos prove: error: %s\n", e.what());
        return 2;
    }
}
