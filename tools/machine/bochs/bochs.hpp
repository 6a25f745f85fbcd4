// Horos booted in Bochs: the configuration that a run needs.
#pragma once
#include <string>

namespace horos::machine {

struct BochsOptions {
    std::string iso; // to boot
    std::string model = "corei7_skylake_x";
    std::string directory;    // for the files of this run
    std::string terminal;     // device for COM1
    std::string log_terminal; // for COM2
    std::string log;          // file that gets what comes from there
    unsigned cores = 1;
    unsigned memory_mib = 512;
    unsigned mips = 50; // instructions in a microsecond of the machine's time
};

// Writes the configuration into `directory` and gives back the file's name. Throws
// std::runtime_error with what is wrong.
std::string prepare_bochs(const BochsOptions& options);

} // namespace horos::machine
