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
    """A patient as the sample files name it. Nobody of that name is meant."""

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


def _person(patient_id: str, latin: str, chinese: str, sex: str, born: str, charset: Charset = UTF_8) -> Person:
    return Person(patient_id, latin, chinese, sex, date.fromisoformat(born), charset)


PEOPLE = {
    person.patient_id: person
    for person in (
        _person("P001", "Wang^Xiaodong", "王^小东", "M", "2009-03-14", GB18030),
        _person("P002", "Li^Siyuan", "李^思远", "M", "2010-11-02", ISO_2022_CHINESE),
        _person("P003", "Zhang^Yutong", "张^雨桐", "F", "2008-07-21"),
        _person("P004", "Ouyang^Ruoxi", "欧阳^若曦", "F", "2011-01-30", GB18030),
        _person("P005", "Chen^Jianguo", "陈^建国", "M", "1958-10-01", GB18030),
        _person("P006", "Liu^Guilan", "刘^桂兰", "F", "1962-04-18"),
        _person("P007", "Yang^Zhiqiang", "杨^志强", "M", "1975-12-09", GB18030),
        _person("P008", "Zhao^Min", "赵^敏", "F", "1988-02-29"),
        _person("P009", "Huang^Haitao", "黄^海涛", "M", "1990-06-06"),
        _person("P010", "Zhou^Xueqin", "周^雪琴", "F", "1969-08-15", GB18030),
        _person("P011", "Wu^Yifan", "吴^一凡", "M", "2001-05-05"),
        _person("P012", "Xu^Lihua", "徐^丽华", "F", "1971-09-23"),
        _person("P013", "Sun^Hao", "孙^浩", "M", "1983-03-03", GB18030),
        _person("P014", "Zhu^Jing", "朱^静", "F", "1995-07-17"),
        _person("P015", "Ma^Chao", "马^超", "M", "1979-11-11"),
        _person("P016", "Hu^Rong", "胡^蓉", "F", "1966-01-08"),
        _person("P017", "Guo^Peng", "郭^鹏", "M", "1992-10-26"),
        _person("P018", "He^Meiling", "何^美玲", "F", "1954-12-31", GB18030),
        _person("20240019", "Gao^Yuan", "高^远", "O", "1987-04-04"),
        _person("7", "Lin^Qing", "林^青", "F", "2000-02-02"),
    )
}
"""By patient id. The last one's hospital number is also XieHe's row id of another patient, a classic way to mix them up."""
