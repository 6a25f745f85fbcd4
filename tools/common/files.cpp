#include "tools/common/files.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <unistd.h>

#include "tools/common/diagnostics.hpp"

namespace horos::tools {
namespace {

[[noreturn]] void fail(const std::string& file, const char* what) {
    throw Fatal(file + ": error: cannot " + what + ": " + std::strerror(errno));
}

} // namespace

std::string read_text(const std::string& file) {
    if (std::filesystem::is_directory(file)) {
        throw Fatal(file + ": error: is a directory, not a file");
    }
    errno = 0;
    std::ifstream in(file, std::ios::binary);
    if (!in) {
        fail(file, "open");
    }
    std::string out{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (in.bad()) {
        fail(file, "read");
    }
    return out;
}

std::vector<std::uint8_t> read_bytes(const std::string& file) {
    const std::string text = read_text(file);
    return {text.begin(), text.end()};
}

void write_file(const std::string& file, std::span<const std::uint8_t> bytes) {
    // The number keeps processes apart that write the same file at the same time.
    const std::string beside = file + ".new." + std::to_string(getpid());
    errno = 0;
    std::error_code error;
    {
        std::ofstream out(beside, std::ios::binary | std::ios::trunc);
        out.write(reinterpret_cast<const char*>(bytes.data()),
                  static_cast<std::streamsize>(bytes.size()));
        out.flush();
        if (!out) {
            const int why = errno;
            std::filesystem::remove(beside, error);
            errno = why;
            fail(file, "write");
        }
    }
    std::filesystem::rename(beside, file, error);
    if (error) {
        std::error_code ignored;
        std::filesystem::remove(beside, ignored);
        throw Fatal(file + ": error: cannot replace: " + error.message());
    }
}

bool write_text_if_changed(const std::string& file, std::string_view text) {
    if (std::filesystem::exists(file) && read_text(file) == text) {
        return false;
    }
    const std::filesystem::path parent = std::filesystem::path(file).parent_path();
    if (!parent.empty()) {
        std::filesystem::create_directories(parent);
    }
    write_file(file, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    return true;
}

} // namespace horos::tools
