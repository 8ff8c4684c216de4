import { spawnSync } from "node:child_process";

/** Whether this perl and this machine are fit for it. */
export function canRelay(perl: string): boolean {
  return spawnSync(perl, ["-e", SMALL_RELAY], { timeout: 10_000, stdio: "ignore" }).status === 0;
}

/**
 * The same as `serveRelay`, in the language that every Debian and most of the others bring. Each server of a runner has a relay
 * of its own: Node takes 40 MiB and a quarter of a second for one, this takes 4 MiB and a hundredth.
 */
export const SMALL_RELAY = String.raw`
# The guest gets the runner's patience, and its connections need this one until then. It ends with its namespace.
BEGIN { $SIG{$_} = 'IGNORE' for qw(TERM INT HUP PIPE); }
use strict; use warnings;
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6 IPPROTO_TCP TCP_NODELAY AF_INET6);
use Errno qw(EAGAIN EINTR EINPROGRESS);
use Fcntl qw(F_SETFL O_NONBLOCK);
use POSIX ();

my ($directory, $ready, $into, $out) = @ARGV;

use constant { IN => 1, OUT => 4, CHUNK => 65536 };
my %numbers = (x86_64 => [291, 233, 232], aarch64 => [20, 21, 22]);
my $machine = (POSIX::uname())[4];
my $epoll = $numbers{$machine} or die "no epoll numbers for $machine\n";
my ($create, $control, $wait) = @$epoll;
# The kernel packs the structure on x86-64 alone.
my ($layout, $size) = $machine eq 'x86_64' ? ('LQ', 12) : ('Lx4Q', 16);
my $poll = syscall($create, 0);
die "epoll: $!\n" if $poll < 0;
# Asked whether it could.
exit 0 unless defined $directory;

# By file descriptor: handle, peer, what is to be written, and how far it has come.
my (@handle, @peer, @pending, @interest, @ended, @finishes, @finished, @connecting, @further, @naming, @listens);

sub watch {
  my ($fd, $events) = @_;
  my $before = $interest[$fd] // 0;
  return if $events == $before;
  # Without an interest the end of a connection would be told again and again.
  my $operation = $before == 0 ? 1 : $events == 0 ? 2 : 3;
  my $event = pack($layout, $events, $fd);
  syscall($control, $poll, $operation, $fd, $event);
  $interest[$fd] = $events;
}

sub look {
  my ($fd) = @_;
  return unless $handle[$fd];
  my $peer = $peer[$fd];
  my $reads = defined $naming[$fd] || (defined $peer && !$ended[$fd] && !$connecting[$fd] && !$connecting[$peer] && length($pending[$peer]) == 0);
  my $writes = $connecting[$fd] || length($pending[$fd]) > 0;
  watch($fd, ($reads ? IN : 0) | ($writes ? OUT : 0));
}

sub add {
  my ($socket) = @_;
  my $fd = fileno($socket);
  fcntl($socket, F_SETFL, O_NONBLOCK);
  ($handle[$fd], $pending[$fd], $interest[$fd]) = ($socket, '', 0);
  ($peer[$fd], $ended[$fd], $finishes[$fd], $finished[$fd], $connecting[$fd], $further[$fd], $naming[$fd], $listens[$fd]) = ();
  return $fd;
}

sub drop {
  my ($fd) = @_;
  return unless $handle[$fd];
  my $peer = $peer[$fd];
  watch($fd, 0);
  close $handle[$fd];
  ($handle[$fd], $peer[$fd], $pending[$fd]) = (undef, undef, '');
  drop($peer) if defined $peer;
}

# What a connection ends with is on its way to its peer first.
sub settle {
  my ($fd) = @_;
  my $peer = $peer[$fd];
  if ($finishes[$fd] && !$finished[$fd] && !$connecting[$fd] && length($pending[$fd]) == 0) {
    shutdown($handle[$fd], 1);
    $finished[$fd] = 1;
  }
  if ($finished[$fd] && defined $peer && $finished[$peer]) { drop($fd); return 0; }
  return 1;
}

sub flush_to {
  my ($fd) = @_;
  while (length($pending[$fd]) > 0) {
    my $written = syswrite($handle[$fd], $pending[$fd]);
    if (!defined $written) {
      return 1 if $! == EAGAIN || $! == EINTR;
      drop($fd);
      return 0;
    }
    substr($pending[$fd], 0, $written, '');
  }
  return 1;
}

# Tries the places in turn: servers that listen on "localhost" take one of its two addresses.
sub dial {
  my ($fd, @places) = @_;
  while (my $place = shift @places) {
    my ($family, $address) = @$place;
    socket(my $socket, $family, SOCK_STREAM, 0) or next;
    my $other = add($socket);
    setsockopt($socket, IPPROTO_TCP, TCP_NODELAY, 1) if $family != AF_UNIX;
    my $is_there = connect($socket, $address);
    if (!$is_there && $! != EINPROGRESS) { $peer[$other] = undef; drop($other); next; }
    ($peer[$other], $peer[$fd]) = ($fd, $other);
    $connecting[$other] = !$is_there;
    $further[$other] = [@places];
    return $other;
  }
  $peer[$fd] = undef;
  drop($fd);
  return undef;
}

sub to_port { my ($port) = @_; return ([AF_INET, pack_sockaddr_in($port, inet_aton('127.0.0.1'))], [AF_INET6, pack_sockaddr_in6($port, inet_pton(AF_INET6, '::1'))]); }
sub to_path { return [AF_UNIX, pack_sockaddr_un($_[0])]; }

sub join_to {
  my ($fd, @places) = @_;
  my $other = dial($fd, @places);
  return unless defined $other;
  look($fd);
  look($other);
}

sub connected {
  my ($fd) = @_;
  my $error = unpack('i', getsockopt($handle[$fd], SOL_SOCKET, SO_ERROR));
  if ($error == 0) { $connecting[$fd] = 0; return 1; }
  my ($peer, $pending, $finishes, @places) = ($peer[$fd], $pending[$fd], $finishes[$fd], @{$further[$fd]});
  $peer[$fd] = undef;
  drop($fd);
  my $other = dial($peer, @places);
  return 0 unless defined $other;
  ($pending[$other], $finishes[$other]) = ($pending, $finishes);
  look($peer);
  look($other);
  return 0;
}

# A connection to any port names it in its first line.
sub name_of {
  my ($fd) = @_;
  my $read = sysread($handle[$fd], my $text, 4096);
  return if !defined $read && ($! == EAGAIN || $! == EINTR);
  if (!$read) { drop($fd); return; }
  $naming[$fd] .= $text;
  if ($naming[$fd] =~ s/\A(\d{1,5})\n// && $1 >= 1 && $1 <= 65535) {
    my ($port, $rest) = ($1, $naming[$fd]);
    $naming[$fd] = undef;
    my $other = dial($fd, to_port($port));
    return unless defined $other;
    $pending[$other] = $rest;
    look($fd);
    look($other);
  } elsif (length($naming[$fd]) >= 6) { drop($fd); }
}

sub take {
  my ($fd) = @_;
  my $peer = $peer[$fd];
  my $read = sysread($handle[$fd], $pending[$peer], CHUNK);
  if (!defined $read) {
    return if $! == EAGAIN || $! == EINTR;
    drop($fd);
    return;
  }
  if ($read == 0) { finish($fd, $peer); return; }
  return unless flush_to($peer);
  look($fd);
  look($peer);
}

sub finish {
  my ($fd, $peer) = @_;
  $ended[$fd] = 1;
  $finishes[$peer] = 1;
  return unless settle($peer);
  look($fd);
  look($peer);
}

sub listen_on {
  my ($family, $address, $accepts) = @_;
  socket(my $socket, $family, SOCK_STREAM, 0) or die "socket: $!\n";
  setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1) if $family != AF_UNIX;
  bind($socket, $address) or die "bind: $!\n";
  listen($socket, 4096) or die "listen: $!\n";
  my $fd = add($socket);
  $listens[$fd] = $accepts;
  watch($fd, IN);
}

sub listen_at {
  my ($path, $accepts) = @_;
  unlink $path;
  my $before = umask 0177;
  listen_on(AF_UNIX, pack_sockaddr_un($path), $accepts);
  umask $before;
}

if ($into ne '') {
  listen_at("$directory/into-$into", sub { join_to($_[0], to_port($into)) });
  listen_at("$directory/any-$into", sub { $naming[$_[0]] = ''; look($_[0]); });
}
for my $port (split /,/, $out) {
  listen_on(AF_INET, pack_sockaddr_in($port, inet_aton('127.0.0.1')), sub { join_to($_[0], to_path("$directory/out-$port")) });
}
if ($out ne '') { open(my $file, '>', $ready) or die "$ready: $!\n"; close $file; }

my $chunk = '';
my $room = "\0" x ($size * 256);
for (;;) {
  my $count = syscall($wait, $poll, $room, 256, -1, 0, 8);
  next if $count < 0 && $! == EINTR;
  die "epoll: $!\n" if $count < 0;
  for my $n (0 .. $count - 1) {
    my ($events, $fd) = unpack($layout, substr($room, $n * $size, $size));
    next unless $handle[$fd] && $interest[$fd];
    if ($listens[$fd]) {
      for (1 .. 64) {
        my $taken = accept(my $socket, $handle[$fd]);
        # Without a descriptor for it, it waits a little rather than be asked for at once.
        if (!$taken) { select(undef, undef, undef, 0.01) if $! != EAGAIN && $! != EINTR; last; }
        setsockopt($socket, IPPROTO_TCP, TCP_NODELAY, 1) if length($taken) > 4 && sockaddr_family($taken) != AF_UNIX;
        $listens[$fd]->(add($socket));
      }
      next;
    }
    if (defined $naming[$fd]) { name_of($fd); next; }
    # What most events are: something to read for a peer that takes all of it. Whoever has this interest has such a peer.
    if ($events == IN && $interest[$fd] == IN) {
      my $peer = $peer[$fd];
      my $read = sysread($handle[$fd], $chunk, CHUNK);
      if ($read) {
        my $written = syswrite($handle[$peer], $chunk);
        next if defined $written && $written == $read;
        if (!defined $written && $! != EAGAIN && $! != EINTR) { drop($fd); next; }
        $pending[$peer] = substr($chunk, $written // 0);
        look($fd);
        look($peer);
        next;
      }
      if (!defined $read) { drop($fd) if $! != EAGAIN && $! != EINTR; next; }
      finish($fd, $peer);
      next;
    }
    if ($connecting[$fd]) { next unless connected($fd); }
    if (length($pending[$fd]) > 0) { next unless flush_to($fd); }
    next unless settle($fd);
    next unless $handle[$fd];
    take($fd) if ($events & ~OUT) && !$ended[$fd] && defined $peer[$fd] && !$connecting[$peer[$fd]] && length($pending[$peer[$fd]]) == 0;
    next unless $handle[$fd];
    look($fd);
    look($peer[$fd]) if defined $peer[$fd];
  }
}
`;
