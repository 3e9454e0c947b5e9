"""The invented patients of the demonstration."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from pydicom.dataset import Dataset

UTF_8 = "ISO_IR 192"
GB18030 = "GB18030"
ISO_2022_CHINESE = ("", "ISO 2022 IR 58")
Charset = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """A patient as the sample files name it. All names are invented."""

    patient_id: str
    latin_name: str
    chinese_name: str
    sex: str
    birth_date: date
    charset: Charset = UTF_8

    @property
    def shown_name(self) -> str:
        """The name as XieHe should show it."""
        return self.chinese_name.replace("^", "")

    def write_into(self, ds: Dataset) -> None:
        """Makes the data set this patient's, its text in this patient's character set."""
        ds.SpecificCharacterSet = self.charset if isinstance(self.charset, str) else list(self.charset)
        ds.PatientID = self.patient_id
        ds.PatientName = f"{self.latin_name}={self.chinese_name}"
        ds.PatientSex = self.sex
        ds.PatientBirthDate = self.birth_date.strftime("%Y%m%d")


PEOPLE = {
    person.patient_id: person
    for person in (
        Person("P001", "Wang^Xiaodong", "王^小东", "M", date(2009, 3, 14), GB18030),
        Person("P002", "Li^Siyuan", "李^思远", "M", date(2010, 11, 2), ISO_2022_CHINESE),
        Person("P003", "Zhang^Yutong", "张^雨桐", "F", date(2008, 7, 21)),
        Person("P004", "Ouyang^Ruoxi", "欧阳^若曦", "F", date(2011, 1, 30), GB18030),
        Person("P005", "Chen^Jianguo", "陈^建国", "M", date(1958, 10, 1), GB18030),
        Person("P006", "Liu^Guilan", "刘^桂兰", "F", date(1962, 4, 18)),
        Person("P007", "Yang^Zhiqiang", "杨^志强", "M", date(1975, 12, 9), GB18030),
        Person("P008", "Zhao^Min", "赵^敏", "F", date(1988, 2, 29)),
        Person("P009", "Huang^Haitao", "黄^海涛", "M", date(1990, 6, 6)),
        Person("P010", "Zhou^Xueqin", "周^雪琴", "F", date(1969, 8, 15), GB18030),
        Person("P011", "Wu^Yifan", "吴^一凡", "M", date(2001, 5, 5)),
        Person("P012", "Xu^Lihua", "徐^丽华", "F", date(1971, 9, 23)),
        Person("P013", "Sun^Hao", "孙^浩", "M", date(1983, 3, 3), GB18030),
        Person("P014", "Zhu^Jing", "朱^静", "F", date(1995, 7, 17)),
        Person("P015", "Ma^Chao", "马^超", "M", date(1979, 11, 11)),
        Person("P016", "Hu^Rong", "胡^蓉", "F", date(1966, 1, 8)),
        Person("P017", "Guo^Peng", "郭^鹏", "M", date(1992, 10, 26)),
        Person("P018", "He^Meiling", "何^美玲", "F", date(1954, 12, 31), GB18030),
        Person("20240019", "Gao^Yuan", "高^远", "O", date(1987, 4, 4)),
        Person("7", "Lin^Qing", "林^青", "F", date(2000, 2, 2)),
    )
}
"""By patient id. The last one's is also XieHe's row id of another patient: a classic way to mix them up."""
