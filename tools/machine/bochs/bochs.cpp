#include "bochs.hpp"
#include <fstream>
#include <stdexcept>

namespace horos::machine {

std::string prepare_bochs(const BochsOptions& o) {
    if (!std::ifstream(o.iso))
        throw std::runtime_error("cannot read " + o.iso);
    const std::string name = o.directory + "/bochsrc";
    std::ofstream rc(name);
    rc << "romimage: file=/usr/share/bochs/BIOS-bochs-latest\n"
          "vgaromimage: file=/usr/share/vgabios/vgabios.bin\n"
       << "cpu: model=" << o.model << ", count=" << o.cores << ", ips=" << o.mips * 1'000'000
       << ", quantum=32, reset_on_triple_fault=0, ignore_bad_msrs=1\n"
       << "memory: guest=" << o.memory_mib << ", host=" << o.memory_mib << "\n"
       << "ata0-master: type=cdrom, path=" << o.iso << ", status=inserted\nboot: cdrom\n"
       << "clock: sync=none, time0=local\n"
          "display_library: rfb, options=\"timeout=0\"\n"
          // the speaker's mixer thread overruns a buffer where there is no sound card
          "plugin_ctrl: speaker=0, gameport=0, parallel=0\n"
       << "com1: enabled=1, mode=term, dev=" << o.terminal << "\n"
       << "com2: enabled=1, mode=term, dev=" << o.log_terminal << "\n"
       << "log: " << o.directory << "/events\n"
       << "panic: action=fatal\nerror: action=ignore\ninfo: action=ignore\ndebug: action=ignore\n";
    rc.close();
    std::ofstream(o.directory + "/debugger") << "c\n";
    if (!rc)
        throw std::runtime_error("cannot write " + name);
    return name;
}

} // namespace horos::machine
