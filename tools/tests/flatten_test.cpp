#include <gmock/gmock.h>

#include <cstring>
#include <elf.h>
#include <horos/abi/bundle.hpp>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/common/diagnostics.hpp"
#include "tools/common/files.hpp"
#include "tools/pack/flatten.hpp"

namespace horos::tools::pack {
namespace {

using testing::HasSubstr;

int protection(std::uint32_t rights) {
    return ((rights & abi::segment_right::read) != 0 ? PROT_READ : 0) |
           ((rights & abi::segment_right::write) != 0 ? PROT_WRITE : 0) |
           ((rights & abi::segment_right::exec) != 0 ? PROT_EXEC : 0);
}

// Does what the root task does, in a child process; its exit status is the program's.
[[noreturn]] void load_and_enter(const ProgramImage& image) {
    for (const Run& segment : image.segments) {
        void* at =
            mmap(reinterpret_cast<void*>(segment.address), segment.memory_size,
                 PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (at == MAP_FAILED) {
            _exit(110);
        }
        std::memcpy(at, segment.bytes.data(), segment.bytes.size());
        mprotect(at, segment.memory_size, protection(segment.rights));
    }
    reinterpret_cast<void (*)()>(image.entry)();
    _exit(111);
}

int run(const ProgramImage& image) {
    const pid_t child = fork();
    if (child == 0) {
        load_and_enter(image);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

ProgramImage sample() { return flatten(read_elf(FLAT_SAMPLE), {read_elf(ZYDIS_LIBRARY)}); }

std::string error_of(std::vector<std::uint8_t> elf) {
    try {
        flatten(parse_elf(std::move(elf), "x"), {});
    } catch (const Fatal& error) {
        return error.what();
    }
    return "no error";
}

TEST(Flatten, ProgramWithSharedObjectRuns) { EXPECT_EQ(run(sample()), 6); }

TEST(Flatten, SurvivesEncodingAndDecoding) {
    EXPECT_EQ(run(decode_program(encode_program(sample(), "sample"), "sample")), 6);
}

TEST(Flatten, NothingIsWritableAndExecutable) {
    bool executable = false;
    for (const pack::Run& segment : sample().segments) {
        EXPECT_NE(segment.rights & 6u, 6u);
        executable = executable || (segment.rights & abi::segment_right::exec) != 0;
    }
    EXPECT_TRUE(executable);
}

TEST(Flatten, BssTakesNoRoomInTheFile) {
    for (const pack::Run& segment : sample().segments) {
        if (segment.rights == 3 && segment.address < 0x20000000) {
            EXPECT_GT(segment.memory_size, segment.bytes.size());
            return;
        }
    }
    FAIL() << "no writable segment";
}

TEST(Flatten, UnresolvedSymbolsAreNamed) {
    try {
        flatten(read_elf(FLAT_SAMPLE), {});
        FAIL() << "no error";
    } catch (const Fatal& error) {
        EXPECT_THAT(error.what(), HasSubstr("unresolved symbols"));
        EXPECT_THAT(error.what(), HasSubstr("'ZydisDecoderDecodeFull'"));
    }
}

TEST(Flatten, ThreadLocalStorageIsRefused) {
    auto elf = read_bytes(FLAT_SAMPLE);
    Elf64_Ehdr header;
    std::memcpy(&header, elf.data(), sizeof header);
    // Turn the program header that nobody needs (PT_GNU_STACK or PT_PHDR) into PT_TLS.
    for (unsigned i = 0; i < header.e_phnum; ++i) {
        const std::size_t at = header.e_phoff + i * sizeof(Elf64_Phdr);
        std::uint32_t type = 0;
        std::memcpy(&type, elf.data() + at, 4);
        if (type == PT_GNU_STACK || type == PT_PHDR) {
            type = PT_TLS;
            std::memcpy(elf.data() + at, &type, 4);
        }
    }
    EXPECT_THAT(error_of(elf), HasSubstr("thread-local storage"));
}

TEST(Flatten, WritableAndExecutableIsRefused) {
    auto elf = read_bytes(FLAT_SAMPLE);
    Elf64_Ehdr header;
    std::memcpy(&header, elf.data(), sizeof header);
    for (unsigned i = 0; i < header.e_phnum; ++i) {
        const std::size_t at = header.e_phoff + i * sizeof(Elf64_Phdr);
        Elf64_Phdr segment;
        std::memcpy(&segment, elf.data() + at, sizeof segment);
        if (segment.p_type == PT_LOAD) {
            segment.p_flags = PF_R | PF_W | PF_X;
            std::memcpy(elf.data() + at, &segment, sizeof segment);
        }
    }
    EXPECT_THAT(error_of(elf), HasSubstr("writable and executable"));
}

TEST(Flatten, OtherFilesAreRefused) {
    EXPECT_THAT(error_of({}), HasSubstr("is not an ELF file"));
    EXPECT_THAT(error_of({'#', '!', '/', 'b', 'i', 'n'}), HasSubstr("is not an ELF file"));
    EXPECT_THAT(error_of({0x7f, 'E', 'L', 'F'}), HasSubstr("is cut short"));
    auto elf32 = read_bytes(FLAT_SAMPLE);
    elf32[EI_CLASS] = ELFCLASS32;
    EXPECT_THAT(error_of(elf32), HasSubstr("not a 64-bit x86"));
}

// A file cut anywhere, or with any early byte damaged, is an error or still a program: never a
// crash.
TEST(Flatten, DamagedFilesNeverCrashIt) {
    const auto whole = read_bytes(FLAT_SAMPLE);
    for (std::size_t size = 0; size < whole.size(); size += 97) {
        error_of({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)});
    }
    for (std::size_t at = 0; at < std::min<std::size_t>(whole.size(), 2048); ++at) {
        auto damaged = whole;
        damaged[at] ^= 0xff;
        error_of(damaged);
    }
}

} // namespace
} // namespace horos::tools::pack
