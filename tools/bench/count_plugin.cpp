// A QEMU plugin that counts the guest instructions that are executed, and writes the number to the
// file named by its argument `out=` when QEMU ends. The few declarations it needs of QEMU's plugin
// interface (version 1, docs/devel/tcg-plugins) are made here: Debian packages no header of it.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

extern "C" {

struct qemu_plugin_tb;
struct qemu_info_t;
using qemu_plugin_id_t = std::uint64_t;

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*cb)(qemu_plugin_id_t, qemu_plugin_tb*));
void qemu_plugin_register_vcpu_tb_exec_inline(qemu_plugin_tb* tb, qemu_plugin_op op, void* ptr,
                                              std::uint64_t imm);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, void*),
                                    void* userdata);
std::size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb* tb);

int qemu_plugin_version = 1;
int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc, char** argv);
}

namespace {

std::uint64_t executed; // one processor: not shared
// Never destroyed: QEMU calls back after this library's destructors.
std::string& file = *new std::string;

void translated(qemu_plugin_id_t, qemu_plugin_tb* tb) {
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &executed,
                                             qemu_plugin_tb_n_insns(tb));
}

void ended(qemu_plugin_id_t, void*) {
    if (FILE* out = std::fopen(file.c_str(), "w")) {
        std::fprintf(out, "%llu\n", static_cast<unsigned long long>(executed));
        std::fclose(out);
    }
}

} // namespace

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t*, int argc, char** argv) {
    for (int i = 0; i < argc; ++i) {
        if (std::strncmp(argv[i], "out=", 4) == 0)
            file = argv[i] + 4;
    }
    if (file.empty())
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, nullptr);
    return 0;
}
