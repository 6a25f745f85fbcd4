#include "bundles.hpp"
#include <array>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <sys/wait.h>

namespace horos::machine {

int run(const std::string& command, std::string& output) {
    FILE* pipe = popen((command + " 2>&1").c_str(), "r");
    if (pipe == nullptr)
        throw std::runtime_error("cannot run " + command);
    std::array<char, 4096> buffer;
    while (const std::size_t size = fread(buffer.data(), 1, buffer.size(), pipe))
        output.append(buffer.data(), size);
    const int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string pack(const std::string& description) {
    namespace fs = std::filesystem;
    const fs::path source = fs::path(description).is_absolute()
                                ? fs::path(description)
                                : fs::path(HOROS_TEST_DESCRIPTIONS) / description;
    const std::string bundle =
        std::string(HOROS_TEST_LOGS) + "/" + source.stem().string() + ".bundle";
    fs::create_directories(HOROS_TEST_LOGS);
    std::string output;
    const int status = run(std::string(HOROS_PACK) + " build " + source.string() + " --files " +
                               HOROS_GUEST_FILES + " --files " + HOROS_TEST_GUESTS +
                               " --programs " + HOROS_PROGRAMS + " -o " + bundle,
                           output);
    if (status != 0)
        throw std::runtime_error("horos-pack: " + output);
    return bundle;
}

std::string make_image(const std::string& description, const std::string& compression) {
    const std::string bundle = pack(description);
    const std::string iso = std::filesystem::path(bundle).replace_extension(".iso");
    std::string output;
    const int status = run(std::string(HOROS_SOURCE) + "/tools/horos/make-iso " +
                               HOROS_KERNEL_IMAGE + " " + bundle + " " + iso + " " + compression,
                           output);
    if (status != 0)
        throw std::runtime_error("make-iso: " + output);
    return iso;
}

} // namespace horos::machine
