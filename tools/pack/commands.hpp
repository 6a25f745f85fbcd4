// The commands of horos-pack; each adds itself to the command line.
#pragma once
#include <CLI/CLI.hpp>

namespace horos::tools::pack {

void add_flatten(CLI::App& app);
void add_check(CLI::App& app);
void add_build(CLI::App& app);
void add_inspect(CLI::App& app);

} // namespace horos::tools::pack
