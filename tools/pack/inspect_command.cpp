#include "tools/pack/commands.hpp"

namespace horos::tools::pack {
void add_inspect(CLI::App&) {}
} // namespace horos::tools::pack
