// Boot bundles for the tests, packed from descriptions in tests/system/descriptions.
#pragma once
#include <string>

namespace horos::machine {

// Packs a description (a file name there, or a path) and gives back the bundle's path. Throws with
// horos-pack's message when it refuses.
std::string pack(const std::string& description);

// The same, as an ISO image with Horos and GRUB, whose modules are compressed so.
std::string make_image(const std::string& description, const std::string& compression = "xz");

// Runs a command; gives back its status, and what it printed in `output`.
int run(const std::string& command, std::string& output);

} // namespace horos::machine
