#include "tools/pack/commands.hpp"

namespace horos::tools::pack {
void add_build(CLI::App&) {}
} // namespace horos::tools::pack
